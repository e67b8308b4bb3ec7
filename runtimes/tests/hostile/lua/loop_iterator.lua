-- expect: timeout
return function()
  for _ in function() return 1 end do end
end
